// Package config holds the installation: generated CRDs, rights, admission policy and the manager's Deployment.
package config

import "embed"

// CRDs holds the generated CustomResourceDefinitions below crd/bases/. The API server and the command line validate
// policy with their schemas.
//
//go:embed crd/bases/*.yaml
var CRDs embed.FS
