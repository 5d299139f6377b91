//! The one integration binary of the workspace lies in `suite/`: a module per noun, every
//! database test on both engines. This library is empty so that the package has a target.
