(* All ways to put N queens on a board so that none attacks another: lists, closures, tail calls; and a balanced map of how
   often the first queen stands where.

     queens N *)

module Counts = Map.Make (Int)

let safe queens column =
  let rec go distance = function
    | [] -> true
    | queen :: rest -> queen <> column && abs (queen - column) <> distance && go (distance + 1) rest
  in
  go 1 queens

let rec solutions n row =
  if row = 0 then [ [] ]
  else
    solutions n (row - 1)
    |> List.concat_map (fun queens ->
           List.init n Fun.id |> List.filter (safe queens) |> List.map (fun column -> column :: queens))

let () =
  let n = if Array.length Sys.argv > 1 then int_of_string Sys.argv.(1) else 8 in
  let all = solutions n n in
  Printf.printf "%d queens: %d solutions\n" n (List.length all);
  let count counts = function
    | [] -> counts
    | first :: _ -> Counts.update first (fun known -> Some (1 + Option.value known ~default:0)) counts
  in
  List.fold_left count Counts.empty all |> Counts.iter (Printf.printf "%d: %d\n")
