// Package kubestash knows the fields of KubeStash's API v1alpha1 and their counterparts in Cairn's API. A manifest
// written for KubeStash either works after a change of its apiVersion, or is refused with a sentence that explains what
// to do. The package is pure and safe for concurrent use: the fields are facts in fields.txt, and the differences are a
// table.
package kubestash
