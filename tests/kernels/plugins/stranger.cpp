// A library that is no plugin.
extern "C" int ebb_test_stranger() { return 0; }
