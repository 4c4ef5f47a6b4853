"""GQA-like questions with functional programs and entailments. Paper: section 2.1, G1."""
