namespace trackbed {}
