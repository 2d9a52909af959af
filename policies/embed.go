// Package policies holds the built-in Addons and Functions, which are installed with Cairn, and example policies.
package policies

import "embed"

// Catalog holds the built-in Addons and Functions as YAML below catalog/. The installation of the manager and the
// command line use the same files.
//
//go:embed catalog/functions.yaml catalog/*-functions.yaml catalog/*-addon.yaml
var Catalog embed.FS
