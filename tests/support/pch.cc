// Nothing but a place for the precompiled header of all tests.
int main() { return 0; }
