"""What an evaluation leaves behind: scores with intervals, predictions, figures and the pages of a report."""
