//! Empty: the package consists of the programs beside this folder.
