// Package v1alpha1 holds the kinds of the API group backup.cairn.dev.
//
// The package promises:
//   - Where KubeStash v1alpha1 has a field for something, the field here has the same path, name, enum values and
//     meaning.
//   - Fields are added, never renamed or retyped.
//   - Every rule that a CRD schema or a CEL expression can express is expressed there, so that it holds without a
//     webhook.
//   - It imports nothing but Kubernetes API machinery and Flux's API packages.
//
// +kubebuilder:object:generate=true
// +groupName=backup.cairn.dev
package v1alpha1
