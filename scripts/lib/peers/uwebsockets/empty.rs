//! Nothing to compile: the manifest beside this file is here for its dependency's C++ sources.
