(* Derives expressions again and again, and simplifies them: trees of variants that share their parts, pattern matching,
   recursion, a hash table, exceptions.

     symbolic TIMES

   Prints the derivatives of x·sin x·e^x at 1, the sizes of their trees, and how many different subexpressions there were. *)

type expr =
  | Number of int
  | X
  | Sum of expr * expr
  | Product of expr * expr
  | Sin of expr
  | Cos of expr
  | Exp of expr

exception Too_large of int

let rec simplify e =
  match e with
  | Sum (a, b) -> (
      match (simplify a, simplify b) with
      | Number 0, e | e, Number 0 -> e
      | Number m, Number n -> Number (m + n)
      | a, b when a = b -> Product (Number 2, a)
      | a, b -> Sum (a, b))
  | Product (a, b) -> (
      match (simplify a, simplify b) with
      | Number 0, _ | _, Number 0 -> Number 0
      | Number 1, e | e, Number 1 -> e
      | Number m, Number n -> Number (m * n)
      | Number m, Product (Number n, e) -> Product (Number (m * n), e)
      | a, (Number _ as n) -> Product (n, a)
      | a, b -> Product (a, b))
  | Sin e -> Sin (simplify e)
  | Cos e -> Cos (simplify e)
  | Exp e -> Exp (simplify e)
  | Number _ | X -> e

let rec derive = function
  | Number _ -> Number 0
  | X -> Number 1
  | Sum (a, b) -> Sum (derive a, derive b)
  | Product (a, b) -> Sum (Product (derive a, b), Product (a, derive b))
  | Sin e -> Product (derive e, Cos e)
  | Cos e -> Product (Number (-1), Product (derive e, Sin e))
  | Exp e as whole -> Product (derive e, whole)

let rec eval x = function
  | Number n -> float_of_int n
  | X -> x
  | Sum (a, b) -> eval x a +. eval x b
  | Product (a, b) -> eval x a *. eval x b
  | Sin e -> sin (eval x e)
  | Cos e -> cos (eval x e)
  | Exp e -> exp (eval x e)

let limit = 2_000_000

let size e =
  let rec go n e =
    if n > limit then raise (Too_large n);
    match e with
    | Number _ | X -> n + 1
    | Sum (a, b) | Product (a, b) -> go (go (n + 1) a) b
    | Sin e | Cos e | Exp e -> go (n + 1) e
  in
  go 0 e

let different = Hashtbl.create 1000

let rec remember e =
  if not (Hashtbl.mem different e) then (
    Hashtbl.add different e (Hashtbl.length different);
    match e with
    | Number _ | X -> ()
    | Sum (a, b) | Product (a, b) -> remember a; remember b
    | Sin e | Cos e | Exp e -> remember e)

let () =
  let times = if Array.length Sys.argv > 1 then int_of_string Sys.argv.(1) else 8 in
  let rec go i e =
    remember e;
    Printf.printf "%d: %.6f (%d)\n" i (eval 1.0 e) (size e);
    if i < times then go (i + 1) (simplify (derive e))
  in
  (try go 0 (Product (X, Product (Sin X, Exp X)))
   with Too_large n -> Printf.printf "more than %d nodes\n" (n - 1));
  Printf.printf "%d different\n" (Hashtbl.length different)
