// Copies a directory's files into another one, which it makes, and counts their lines, words and bytes.
//
//   copy FROM TO
//
// Symbolic links are made anew; what they lead to is not looked at.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct counts {
  long lines, words, bytes;
};

static struct counts total;

static void fail(const char *what, const char *path) {
  fprintf(stderr, "copy: %s %s: %s\n", what, path, strerror(errno));
  exit(1);
}

static void copy_file(const char *from, const char *to, const struct stat *stat) {
  static char buffer[4096];
  int in = open(from, O_RDONLY);
  if (in < 0) fail("open", from);
  int out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (out < 0) fail("create", to);
  struct counts counts = {0};
  int in_word = 0;
  ssize_t n;
  while ((n = read(in, buffer, sizeof buffer)) > 0) {
    for (ssize_t i = 0; i < n; i++) {
      int space = strchr(" \t\n\r", buffer[i]) != NULL && buffer[i] != 0;
      counts.lines += buffer[i] == '\n';
      counts.words += !space && !in_word;
      in_word = !space;
    }
    counts.bytes += n;
    if (write(out, buffer, n) != n) fail("write", to);
  }
  if (n < 0) fail("read", from);
  struct timespec times[2] = {stat->st_atim, stat->st_mtim};
  if (futimens(out, times) != 0) fail("set times of", to);
  if (close(in) != 0 || close(out) != 0) fail("close", to);
  printf("%7ld %7ld %7ld %s\n", counts.lines, counts.words, counts.bytes, from);
  total.lines += counts.lines;
  total.words += counts.words;
  total.bytes += counts.bytes;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

static void copy_directory(const char *from, const char *to) {
  if (mkdir(to, 0755) != 0) fail("make directory", to);
  DIR *dir = opendir(from);
  if (!dir) fail("open directory", from);
  char **names = NULL;
  size_t count = 0;
  struct dirent *entry;
  while ((entry = readdir(dir)) != NULL) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    names = realloc(names, (count + 1) * sizeof *names);
    names[count++] = strdup(entry->d_name);
  }
  closedir(dir);
  qsort(names, count, sizeof *names, by_name);
  for (size_t i = 0; i < count; i++) {
    char source[PATH_MAX], target[PATH_MAX];
    snprintf(source, sizeof source, "%s/%s", from, names[i]);
    snprintf(target, sizeof target, "%s/%s", to, names[i]);
    struct stat stat;
    if (lstat(source, &stat) != 0) fail("stat", source);
    if (S_ISDIR(stat.st_mode)) {
      copy_directory(source, target);
    } else if (S_ISLNK(stat.st_mode)) {
      char link[PATH_MAX];
      ssize_t len = readlink(source, link, sizeof link - 1);
      if (len < 0) fail("read link", source);
      link[len] = 0;
      if (symlink(link, target) != 0) fail("make link", target);
      printf("%s -> %s\n", source, link);
    } else {
      copy_file(source, target, &stat);
    }
    free(names[i]);
  }
  free(names);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: copy FROM TO\n");
    return 2;
  }
  copy_directory(argv[1], argv[2]);
  printf("%7ld %7ld %7ld total\n", total.lines, total.words, total.bytes);
  return 0;
}
