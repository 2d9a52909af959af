package moverjob

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Keys of a database's Secret as a mover sees them, whatever their names in the Secret.
const (
	keyUsername = "username"
	keyPassword = "password"
)

// tlsKeys are the keys of a Secret with certificates.
var tlsKeys = []string{"ca.crt", "tls.crt", "tls.key"}

// databaseSource returns the volume with a database's Secret: username, password and certificates under the names that
// Functions use. Of a separate Secret for the certificates it shows only these. All Secrets are optional: the mover
// reports what is missing, whereas the kubelet would wait for ever.
func databaseSource(d *v1alpha1.ResolvedDatabase) corev1.VolumeSource {
	from := func(secret string, items ...corev1.KeyToPath) corev1.VolumeProjection {
		return corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Items: items, Optional: new(true),
		}}
	}
	sources := []corev1.VolumeProjection{from(d.SecretName)}
	var renamed []corev1.KeyToPath
	for _, k := range []corev1.KeyToPath{
		{Key: d.UsernameKey, Path: keyUsername},
		{Key: d.PasswordKey, Path: keyPassword},
	} {
		if cmp.Or(k.Key, k.Path) != k.Path {
			renamed = append(renamed, k)
		}
	}
	if len(renamed) > 0 {
		sources = append(sources, from(d.SecretName, renamed...))
	}
	if d.TLSSecretName != "" && d.TLSSecretName != d.SecretName {
		var items []corev1.KeyToPath
		for _, k := range tlsKeys {
			items = append(items, corev1.KeyToPath{Key: k, Path: k})
		}
		sources = append(sources, from(d.TLSSecretName, items...))
	}
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources:     sources,
		DefaultMode: new(int32(0o444)),
	}}
}

// secretOf names the Secret of a database; "" without a database.
func secretOf(d *v1alpha1.ResolvedDatabase) string {
	if d == nil {
		return ""
	}
	return d.SecretName
}

// withPullSecrets adds the Secrets that are missing.
func withPullSecrets(asked, more []corev1.LocalObjectReference) []corev1.LocalObjectReference {
	out := slices.Clone(asked)
	for _, s := range more {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
