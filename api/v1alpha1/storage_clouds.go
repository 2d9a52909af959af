package v1alpha1

// GCSStorage is a bucket of Google Cloud Storage.
type GCSStorage struct {
	// Bucket to use. It must exist already.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=222
	Bucket string `json:"bucket"`

	// Prefix of everything that is stored in the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the prefix must not contain .."
	Prefix string `json:"prefix,omitempty"`

	// SecretName of a Secret in the storage's namespace with GOOGLE_SERVICE_ACCOUNT_JSON_KEY. Without it, the movers
	// use the identity that the cloud gives their pods: that of the ServiceAccount cairn-mover, or of the node.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// MaxConnections is how many requests one mover sends at once. The default, 0, means no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxConnections int64 `json:"maxConnections,omitempty"`
}

// GCSServiceAccountKey is the key of the Secret that GCSStorage.SecretName names.
const GCSServiceAccountKey = "GOOGLE_SERVICE_ACCOUNT_JSON_KEY"

// AzureStorage is a container of Azure Blob Storage.
type AzureStorage struct {
	// StorageAccount is the name of the account.
	// +required
	// +kubebuilder:validation:Pattern="^[a-z0-9]{3,24}$"
	StorageAccount string `json:"storageAccount"`

	// Container to use. It must exist already.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container"`

	// EndpointSuffix of the account's cloud: core.windows.net for Azure's own, core.usgovcloudapi.net for the US
	// government's, core.chinacloudapi.cn for China's. The account is at
	// https://<storageAccount>.blob.<endpointSuffix>.
	// +optional
	// +kubebuilder:default="core.windows.net"
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
	EndpointSuffix string `json:"endpointSuffix,omitempty"`

	// Prefix of everything that is stored in the container.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(s, s == '..')",message="the prefix must not contain .."
	Prefix string `json:"prefix,omitempty"`

	// SecretName of a Secret in the storage's namespace with AZURE_ACCOUNT_KEY. Without it, the movers use the workload
	// identity of their pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// MaxConnections is how many requests one mover sends at once. The default, 0, means no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1024
	MaxConnections int64 `json:"maxConnections,omitempty"`
}

// AzureEndpointSuffix is the AzureStorage.EndpointSuffix of Azure's own cloud.
const AzureEndpointSuffix = "core.windows.net"

// AzureAccountKey is the key of the Secret that AzureStorage.SecretName names.
const AzureAccountKey = "AZURE_ACCOUNT_KEY"
