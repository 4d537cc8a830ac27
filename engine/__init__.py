"""The exchange itself: a pure state machine. Same commands in, same events out, in any process.

Nothing here reads a clock, opens a file, logs, draws a random number or holds a float. Time and sequence are arguments,
ids are counters in the state, and every number of money, price or quantity is an integer in units of 1e-9.
"""
