module trackbed

go 1.19
