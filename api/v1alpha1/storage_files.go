package v1alpha1

// SFTPStorage is a directory on an SSH server.
type SFTPStorage struct {
	// Host is the name or address of the server.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[A-Za-z0-9.:_-]+$"
	Host string `json:"host"`

	// Port of the server.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=22
	Port int32 `json:"port,omitempty"`

	// Username to log in with.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Username string `json:"username"`

	// Path of a directory that must exist already. A relative path starts in the directory that the server opens at
	// login. The default is that directory.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the path must not contain .."
	Path string `json:"path,omitempty"`

	// Prefix of everything that is stored below the path.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the prefix must not contain .."
	Prefix string `json:"prefix,omitempty"`

	// SecretName of a Secret in the storage's namespace. It has the key known_hosts with the server's host key, and
	// identity, a private key without passphrase, or password.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`

	// MaxConnections is how many requests one mover sends at once, over one connection. The default, 0, means no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxConnections int64 `json:"maxConnections,omitempty"`
}

// The keys of the Secret that SFTPStorage.SecretName names, as in the Secret of a Git server.
const (
	SFTPKnownHosts = "known_hosts"
	SFTPIdentity   = "identity"
	SFTPPassword   = "password"
)

// WebDAVStorage is a collection on a WebDAV server.
type WebDAVStorage struct {
	// URL of a collection that must exist already.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/@?#]+(/[^?#]*)?$')",message="the URL must have a scheme and a host, and no credentials and no query, for example https://dav.example.com/backups"
	URL string `json:"url"`

	// Prefix of everything that is stored in the collection.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the prefix must not contain .."
	Prefix string `json:"prefix,omitempty"`

	// SecretName of a Secret in the storage's namespace with username and password, and optionally CA_CERT_DATA.
	// Without it, movers send no credentials.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// TLSFingerprint is the SHA-256 of the server's certificate in hexadecimal digits. If it is set, only this
	// certificate is trusted.
	// +optional
	// +kubebuilder:validation:MaxLength=95
	// +kubebuilder:validation:Pattern="^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$"
	TLSFingerprint string `json:"tlsFingerprint,omitempty"`

	// MaxConnections is how many requests one mover sends at once. The default, 0, means no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxConnections int64 `json:"maxConnections,omitempty"`
}

// The keys of the Secret that WebDAVStorage.SecretName names.
const (
	WebDAVUsername = "username"
	WebDAVPassword = "password"
)
