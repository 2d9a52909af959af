// Package version holds the version of this build of Cairn. The linker sets it, and nothing changes it afterwards.
package version

// Version is the Git description of the checkout.
var Version = "unknown"
