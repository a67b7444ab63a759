// SHA-256 (FIPS 180-4) of files, or of standard input.
//
//   sha256 [FILE]…

#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct sha256 {
  uint32_t state[8];
  uint64_t length;
  unsigned char block[64];
};

static uint32_t constants[64];
static const uint32_t *initial;

// The constants are the first 32 bits of the fractions of the cube and square roots of the first primes. Newton's method
// on integers gives them: r = floor(2^32 * p^(1/n)), whose low 32 bits they are.
static uint32_t root_fraction(unsigned prime, int cube) {
  unsigned __int128 low = 0, high = (unsigned __int128)1 << 36;
  while (high - low > 1) {
    unsigned __int128 middle = (low + high) / 2;
    unsigned __int128 power = middle * middle;
    int above;
    if (cube) {
      // middle^3 > p << 96, without leaving 128 bits: compare middle^2 with (p << 96) / middle.
      above = power > ((unsigned __int128)prime << 96) / middle;
    } else {
      above = power > (unsigned __int128)prime << 64;
    }
    if (above) high = middle;
    else low = middle;
  }
  return (uint32_t)low;
}

static void make_constants(void) {
  static uint32_t squares[8];
  int found = 0;
  for (unsigned n = 2; found < 64; n++) {
    int prime = 1;
    for (unsigned d = 2; d * d <= n; d++) prime &= n % d != 0;
    if (!prime) continue;
    constants[found] = root_fraction(n, 1);
    if (found < 8) squares[found] = root_fraction(n, 0);
    found++;
  }
  initial = squares;
}

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void compress(struct sha256 *sha) {
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++) {
    const unsigned char *p = sha->block + 4 * i;
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  }
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
  }
  memcpy(s, sha->state, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
    uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
    uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) + choice + constants[i] + w[i];
    uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) + majority;
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) sha->state[i] += s[i];
}

static void add(struct sha256 *sha, const unsigned char *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    sha->block[sha->length++ % 64] = bytes[i];
    if (sha->length % 64 == 0) compress(sha);
  }
}

static int hash(FILE *file, const char *name) {
  struct sha256 sha = {.length = 0};
  memcpy(sha.state, initial, sizeof sha.state);
  unsigned char buffer[4096];
  size_t n;
  while ((n = fread(buffer, 1, sizeof buffer, file)) > 0) add(&sha, buffer, n);
  if (ferror(file)) {
    perror(name);
    return 1;
  }
  uint64_t bits = sha.length * 8;
  add(&sha, (const unsigned char *)"\x80", 1);
  while (sha.length % 64 != 56) add(&sha, (const unsigned char *)"", 1);
  for (int shift = 56; shift >= 0; shift -= 8) add(&sha, &(unsigned char){(unsigned char)(bits >> shift)}, 1);
  for (int i = 0; i < 8; i++) printf("%08x", sha.state[i]);
  printf("  %s\n", name);
  return 0;
}

int main(int argc, char **argv) {
  make_constants();
  if (argc == 1) return hash(stdin, "-");
  int code = 0;
  for (int i = 1; i < argc; i++) {
    FILE *file = fopen(argv[i], "rb");
    if (!file) {
      perror(argv[i]);
      code = 1;
      continue;
    }
    code |= hash(file, argv[i]);
    fclose(file);
  }
  return code;
}
