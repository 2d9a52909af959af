// Package version says which build of Cairn this is.
package version

// Version is set by the linker: the Git description of the checkout.
var Version = "unknown"
