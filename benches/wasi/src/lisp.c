// An interpreter for a small Lisp: numbers, symbols, pairs, closures.
//
//   lisp [FILE]
//
// Reads a program from the file or from standard input, and prints the value of each form that is not a definition.
// Nothing is freed; an error ends the program with code 1.

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NIL, NUMBER, SYMBOL, PAIR, BUILTIN, CLOSURE };

struct value {
  enum kind kind;
  union {
    long number;
    const char *name;
    struct {
      struct value *head, *tail;
    };
    struct value *(*builtin)(struct value *);
    struct {
      struct value *parameters, *body, *environment;
    };
  };
};

typedef struct value value;

static value nil = {.kind = NIL};
static value *symbols = &nil, *globals = &nil;
static value *truth, *quote, *if_, *lambda, *define;
static FILE *input;

static void fail(const char *what, const char *which) {
  fflush(stdout);
  fprintf(stderr, "lisp: %s%s%s\n", what, *which ? ": " : "", which);
  exit(1);
}

static value *make(enum kind kind) {
  static value *free;
  static int left;
  if (left == 0) {
    left = 4096;
    free = malloc(left * sizeof *free);
    if (!free) fail("out of memory", "");
  }
  left--;
  free->kind = kind;
  return free++;
}

static value *number(long n) {
  value *v = make(NUMBER);
  v->number = n;
  return v;
}

static value *pair(value *head, value *tail) {
  value *v = make(PAIR);
  v->head = head;
  v->tail = tail;
  return v;
}

static value *symbol(const char *name) {
  for (value *s = symbols; s != &nil; s = s->tail)
    if (!strcmp(s->head->name, name)) return s->head;
  value *v = make(SYMBOL);
  v->name = strdup(name);
  symbols = pair(v, symbols);
  return v;
}

static value *head(value *v) {
  if (v->kind != PAIR) fail("not a pair", "");
  return v->head;
}

static value *tail(value *v) {
  if (v->kind != PAIR) fail("not a pair", "");
  return v->tail;
}

static long integer(value *v) {
  if (v->kind != NUMBER) fail("not a number", "");
  return v->number;
}

static int next(void) {
  int c = getc(input);
  while (isspace(c) || c == ';') {
    if (c == ';')
      while (c != '\n' && c != EOF) c = getc(input);
    else
      c = getc(input);
  }
  return c;
}

static value *read(int c);

static value *read_list(void) {
  int c = next();
  if (c == EOF) fail("a list does not end", "");
  if (c == ')') return &nil;
  value *first = read(c);
  return pair(first, read_list());
}

static value *read(int c) {
  if (c == '(') return read_list();
  if (c == '\'') return pair(quote, pair(read(next()), &nil));
  if (c == ')' || c == EOF) fail("something is missing", "");
  char word[64];
  size_t length = 0;
  while (c != EOF && !isspace(c) && !strchr("();'", c)) {
    if (length + 1 == sizeof word) fail("a word is too long", "");
    word[length++] = c;
    c = getc(input);
  }
  ungetc(c, input);
  word[length] = 0;
  char *end;
  long n = strtol(word, &end, 10);
  return *end ? symbol(word) : number(n);
}

static void print(value *v) {
  switch (v->kind) {
    case NIL: printf("()"); break;
    case NUMBER: printf("%ld", v->number); break;
    case SYMBOL: printf("%s", v->name); break;
    case PAIR:
      for (char open = '('; v->kind == PAIR; v = v->tail, open = ' ') {
        putchar(open);
        print(v->head);
      }
      if (v != &nil) {
        printf(" . ");
        print(v);
      }
      putchar(')');
      break;
    case BUILTIN:
    case CLOSURE: printf("(function)"); break;
  }
}

static value *lookup(value *name, value *environment) {
  value *scopes[] = {environment, globals};
  for (int i = 0; i < 2; i++)
    for (value *e = scopes[i]; e != &nil; e = e->tail)
      if (e->head->head == name) return e->head;
  return NULL;
}

static value *eval(value *form, value *environment) {
  for (;;) {
    if (form->kind == SYMBOL) {
      value *found = lookup(form, environment);
      if (!found) fail("nothing is called", form->name);
      return found->tail;
    }
    if (form->kind != PAIR) return form;
    value *first = form->head, *rest = form->tail;
    if (first == quote) return head(rest);
    if (first == if_) {
      int yes = eval(head(rest), environment) != &nil;
      form = head(yes ? tail(rest) : tail(tail(rest)));
      continue;
    }
    if (first == lambda || first == define) {
      value *closure = make(CLOSURE);
      closure->parameters = first == lambda ? head(rest) : tail(head(rest));
      closure->body = head(tail(rest));
      closure->environment = environment;
      if (first == lambda) return closure;
      globals = pair(pair(head(head(rest)), closure), globals);
      return NULL;
    }
    value *function = eval(first, environment), *arguments = &nil, **end = &arguments;
    for (; rest != &nil; rest = tail(rest)) {
      *end = pair(eval(head(rest), environment), &nil);
      end = &(*end)->tail;
    }
    if (function->kind == BUILTIN) return function->builtin(arguments);
    if (function->kind != CLOSURE) fail("not a function", "");
    // A call in tail position goes round: loops take no stack.
    environment = function->environment;
    for (value *p = function->parameters; p != &nil; p = tail(p), arguments = tail(arguments))
      environment = pair(pair(head(p), head(arguments)), environment);
    form = function->body;
  }
}

static value *boolean(int yes) { return yes ? truth : &nil; }
static value *second(value *v) { return head(tail(v)); }
static value *plus(value *a) { return number(integer(head(a)) + integer(second(a))); }
static value *minus(value *a) { return number(integer(head(a)) - integer(second(a))); }
static value *times(value *a) { return number(integer(head(a)) * integer(second(a))); }
static value *less(value *a) { return boolean(integer(head(a)) < integer(second(a))); }
static value *cons(value *a) { return pair(head(a), second(a)); }
static value *car(value *a) { return head(head(a)); }
static value *cdr(value *a) { return tail(head(a)); }
static value *is_null(value *a) { return boolean(head(a) == &nil); }

static value *rem_(value *a) {
  long by = integer(second(a));
  if (by == 0) fail("division by zero", "");
  return number(integer(head(a)) % by);
}

static value *equal(value *a) {
  value *x = head(a), *y = second(a);
  return boolean(x == y || (x->kind == NUMBER && y->kind == NUMBER && x->number == y->number));
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    value *(*function)(value *);
  } builtins[] = {{"+", plus}, {"-", minus}, {"*", times}, {"rem", rem_},    {"<", less},
                  {"=", equal}, {"cons", cons}, {"car", car}, {"cdr", cdr}, {"null?", is_null}};
  truth = symbol("t"), quote = symbol("quote"), if_ = symbol("if"), lambda = symbol("lambda"), define = symbol("define");
  globals = pair(pair(truth, truth), globals);
  for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) {
    value *v = make(BUILTIN);
    v->builtin = builtins[i].function;
    globals = pair(pair(symbol(builtins[i].name), v), globals);
  }
  input = argc > 1 ? fopen(argv[1], "r") : stdin;
  if (!input) {
    perror(argv[1]);
    return 1;
  }
  for (int c; (c = next()) != EOF;) {
    value *v = eval(read(c), &nil);
    if (v) {
      print(v);
      putchar('\n');
    }
  }
  return 0;
}
