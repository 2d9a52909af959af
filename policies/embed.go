// Package policies holds what is installed beside the program: the built-in Addons and Functions, and examples.
package policies

import "embed"

// Catalog holds the built-in Addons and Functions as YAML below catalog/. The manager's installation and the command line
// read the same files.
//
//go:embed catalog/functions.yaml catalog/*-functions.yaml catalog/*-addon.yaml
var Catalog embed.FS
