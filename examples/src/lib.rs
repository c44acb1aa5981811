//! Nothing: the programs beside this folder are what the package is for.
