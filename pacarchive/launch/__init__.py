"""How the service comes up and goes down: the options of twistd, the assembly, worker processes, ports, signals.

It is the top floor, and the only room that knows all the others; nothing but the twistd plugin and C{tac/} calls it.
"""
