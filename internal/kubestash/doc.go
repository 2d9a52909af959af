// Package kubestash knows the fields of KubeStash's API v1alpha1 and what became of each in Cairn's, so that a manifest
// written for KubeStash either works after its apiVersion was changed or is refused with a sentence that says what to do.
// It is pure: the fields are facts in fields.txt, and the differences are a table.
package kubestash
