; The primes below 2000, by trial division; their number and the last five.

(define (length list n) (if (null? list) n (length (cdr list) (+ n 1))))
(define (take list n) (if (= n 0) '() (cons (car list) (take (cdr list) (- n 1)))))
(define (divides-none? list n)
  (if (null? list) t (if (= (rem n (car list)) 0) '() (divides-none? (cdr list) n))))
(define (primes n end found)
  (if (< n end) (primes (+ n 1) end (if (divides-none? found n) (cons n found) found)) found))
(define (fib n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2)))))
(define (adder n) (lambda (m) (+ n m)))

(length (primes 2 2000 '()) 0)
(take (primes 2 2000 '()) 5)
(fib 18)
((adder 40) 2)
(cons 'a (cons 'b 3))
