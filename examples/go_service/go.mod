module example/go_service

go 1.19

require trackbed v0.0.0

replace trackbed => ../../bindings/go
