"""How good retrieval and answers are, measured on sets of questions with known answers."""
