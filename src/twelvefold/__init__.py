"""One vision-and-language model, many tasks: train it jointly on clean splits, evaluate it, use it.

Every command of ``twelvefold --help`` is a function of the same name: ``twelvefold.prepare.prepare`` and so on.
"""
