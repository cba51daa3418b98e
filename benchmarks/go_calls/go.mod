module benchmark/go_calls

go 1.19

require trackbed v0.0.0

replace trackbed => ../../bindings/go
