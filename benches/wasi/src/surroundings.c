// Says what it sees of its surroundings: arguments, environment, clocks, standard input. Its last argument is its exit code.

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long nanoseconds(clockid_t clock) {
  struct timespec now;
  if (clock_gettime(clock, &now) != 0) {
    perror("clock_gettime");
    exit(1);
  }
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
  for (char **variable = environ; *variable; variable++) printf("environment: %s\n", *variable);

  struct timespec resolution;
  clock_getres(CLOCK_MONOTONIC, &resolution);
  printf("resolution is at most a second: %d\n", resolution.tv_sec == 0);
  printf("the year is at least 2024: %d\n", nanoseconds(CLOCK_REALTIME) > 1704067200LL * 1000000000LL);
  long long start = nanoseconds(CLOCK_MONOTONIC);
  struct timespec pause = {0, 20 * 1000 * 1000};
  nanosleep(&pause, NULL);
  printf("slept for 20 ms: %d\n", nanoseconds(CLOCK_MONOTONIC) - start >= 20 * 1000 * 1000);

  unsigned char random[32], bits = 0;
  if (getentropy(random, sizeof random) != 0) return 1;
  for (size_t i = 0; i < sizeof random; i++) bits |= random[i];
  printf("there is randomness: %d\n", bits != 0);

  struct pollfd input = {.fd = 0, .events = POLLIN};
  printf("input is ready: %d\n", poll(&input, 1, 10000));
  char line[100];
  while (fgets(line, sizeof line, stdin)) printf("input: %s", line);
  printf("end of input: %d\n", feof(stdin) != 0);
  printf("a terminal: %d\n", isatty(1));
  printf("a file: %s\n", fopen("/etc/passwd", "r") ? "opened" : "not to be had");
  fprintf(stderr, "done\n");
  return argc > 1 ? atoi(argv[argc - 1]) : 0;
}
