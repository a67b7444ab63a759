// A sun and four planets that start on circles, by steps of a hundredth of a year: multiplication, division and square roots
// of doubles. Prints the energy before and after, which differ by little.
//
//   nbody STEPS

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BODIES 5

// In astronomical units, years, and masses of the sun times 4π², so that the constant of gravitation is 1.
struct body {
  double at[3], velocity[3], mass;
};

static struct body bodies[BODIES];

// Radii in astronomical units and how many of the planet a sun weighs: Jupiter, Saturn, Uranus, Neptune.
static const double planets[BODIES - 1][2] = {{5.2, 1047}, {9.6, 3499}, {19.2, 22962}, {30.1, 19352}};

static void start(void) {
  double pi = 4 * atan(1), sun = 4 * pi * pi;
  bodies[0].mass = sun;
  for (int i = 1; i < BODIES; i++) {
    struct body *planet = &bodies[i];
    double radius = planets[i - 1][0], speed = sqrt(sun / radius), angle = i * 2.4, tilt = i * 0.01;
    planet->mass = sun / planets[i - 1][1];
    planet->at[0] = radius * cos(angle);
    planet->at[1] = radius * sin(angle) * cos(tilt);
    planet->at[2] = radius * sin(angle) * sin(tilt);
    planet->velocity[0] = -speed * sin(angle);
    planet->velocity[1] = speed * cos(angle) * cos(tilt);
    planet->velocity[2] = speed * cos(angle) * sin(tilt);
    // The whole does not move.
    for (int k = 0; k < 3; k++) bodies[0].velocity[k] -= planet->velocity[k] * planet->mass / sun;
  }
}

static double energy(void) {
  double sum = 0;
  for (int i = 0; i < BODIES; i++) {
    struct body *a = &bodies[i];
    for (int k = 0; k < 3; k++) sum += 0.5 * a->mass * a->velocity[k] * a->velocity[k];
    for (int j = i + 1; j < BODIES; j++) {
      double square = 0;
      for (int k = 0; k < 3; k++) {
        double d = a->at[k] - bodies[j].at[k];
        square += d * d;
      }
      sum -= a->mass * bodies[j].mass / sqrt(square);
    }
  }
  return sum;
}

static void step(double time) {
  for (int i = 0; i < BODIES; i++) {
    struct body *a = &bodies[i];
    for (int j = i + 1; j < BODIES; j++) {
      struct body *b = &bodies[j];
      double d[3], square = 0;
      for (int k = 0; k < 3; k++) {
        d[k] = a->at[k] - b->at[k];
        square += d[k] * d[k];
      }
      double pull = time / (square * sqrt(square));
      for (int k = 0; k < 3; k++) {
        a->velocity[k] -= d[k] * b->mass * pull;
        b->velocity[k] += d[k] * a->mass * pull;
      }
    }
  }
  for (int i = 0; i < BODIES; i++)
    for (int k = 0; k < 3; k++) bodies[i].at[k] += time * bodies[i].velocity[k];
}

int main(int argc, char **argv) {
  int steps = argc > 1 ? atoi(argv[1]) : 1000;
  start();
  printf("%.9f\n", energy());
  for (int i = 0; i < steps; i++) step(0.01);
  printf("%.9f\n", energy());
  return 0;
}
