"""Studies: methods by conditions by seeds, carried out, compared, judged."""
