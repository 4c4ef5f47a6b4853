"""Use a trained model: an image and a text in, ranked answers with boxes and probabilities out.

Requests become the same batches, and are decoded by the same functions, as in training and evaluation. This package
adds what a person needs: opening images, running the detector, checking requests, and drawing answers.
Paper: section 5, Fig. 3 (one model, all tasks).
"""
