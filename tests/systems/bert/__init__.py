"""BERT and DistilBERT, and how long its file may be."""

CODE_LINES = {"minimodels/bert.py": 150}
