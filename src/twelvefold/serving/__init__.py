"""One trained model, used: a photograph and a question in, ranked answers with boxes and probabilities out.

What a person asks becomes the same examples, batches and decoded predictions as in training and evaluation; this
room only finds regions, words requests, and shows what came of them. Paper: section 4.5, Fig. 3 (one model, all tasks).
"""
