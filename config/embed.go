// Package config holds the installation: generated CRDs, rights, admission policy and the manager's Deployment.
package config

import "embed"

// CRDs holds the generated CustomResourceDefinitions below crd/bases/. The API server and the command line validate
// policy with their schemas.
//
//go:embed crd/bases/*.yaml
var CRDs embed.FS

// Rights holds what limits an installation: roles, admission policies and NetworkPolicies, those of the components
// included. The command line compares a cluster with them.
//
//go:embed admission/*_policy.yaml rbac/*_role.yaml rbac/*_roles.yaml network/manager.yaml impersonation/role.yaml
var Rights embed.FS
