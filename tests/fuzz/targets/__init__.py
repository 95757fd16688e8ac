"""The targets, one file a family; `cases.all_targets` finds them. Each file declares `TARGETS`."""
