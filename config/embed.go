// Package config holds the installation: generated CRDs, rights, admission policy and the manager's Deployment.
package config

import "embed"

// CRDs holds the generated CustomResourceDefinitions below crd/bases/: the schema that the API server and the command line
// check policy against.
//
//go:embed crd/bases/*.yaml
var CRDs embed.FS
