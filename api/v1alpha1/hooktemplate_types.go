package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// HookTemplateSpec is an action that sessions run before or after a backup or a restore. In its texts ${name} stands
// for a parameter, a variable of the hook, or one of namespace, backupSession, restoreSession, invokerKind,
// invokerName, session, targetKind and targetName. ${name:=value}, ${name:-value} and ${name=value} have a default. $${
// stands for ${ itself. Any other name is an error.
// +kubebuilder:validation:XValidation:rule="has(self.action) != (self.executor.type == 'Function')",message="executors Pod and Operator need an action, and executor Function has none: its Function is the action"
// +kubebuilder:validation:XValidation:rule="!has(self.action) || !has(self.action.exec) || self.executor.type == 'Pod'",message="a command runs in a pod: exec needs executor.type Pod"
// +kubebuilder:validation:XValidation:rule="self.executor.type != 'Operator' || !has(self.action) || (!has(self.action.httpGet) || has(self.action.httpGet.host)) && (!has(self.action.httpPost) || has(self.action.httpPost.host)) && (!has(self.action.tcpSocket) || has(self.action.tcpSocket.host))",message="executor.type Operator needs the host: it has no pod to take the address from"
type HookTemplateSpec struct {
	// UsagePolicy defines which namespaces can use this template. The default is only its own namespace.
	// +optional
	UsagePolicy *UsagePolicy `json:"usagePolicy,omitempty"`

	// Params that a hook can set.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Params []Parameter `json:"params,omitempty"`

	// Action to carry out. Leave it out for executor type Function.
	// +optional
	Action *HookAction `json:"action,omitempty"`

	// Executor that carries out the action.
	// +required
	Executor *HookExecutor `json:"executor"`
}

// HookAction is exactly one of a command, a request and a connection.
// +kubebuilder:validation:XValidation:rule="[has(self.exec), has(self.httpGet), has(self.httpPost), has(self.tcpSocket)].filter(x, x).size() == 1",message="an action must have exactly one of exec, httpGet, httpPost and tcpSocket"
type HookAction struct {
	// Exec runs a command in a container. It succeeds with exit code 0.
	// +optional
	Exec *HookExecAction `json:"exec,omitempty"`

	// HTTPGet sends a GET request. It succeeds with a status from 200 to 299.
	// +optional
	HTTPGet *HookHTTPGetAction `json:"httpGet,omitempty"`

	// HTTPPost sends a body or a form. It succeeds with a status from 200 to 299.
	// +optional
	HTTPPost *HookHTTPPostAction `json:"httpPost,omitempty"`

	// TCPSocket opens a connection and closes it.
	// +optional
	TCPSocket *HookTCPSocketAction `json:"tcpSocket,omitempty"`

	// ContainerName of the pod, for exec and for ports with a name. The default for exec is the first container.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ContainerName string `json:"containerName,omitempty"`
}

// HookExecAction is a command in a container.
type HookExecAction struct {
	// Command and its arguments. No shell reads them unless the command is a shell. An argument that contains {{ is a
	// Go template over the run: .Name, .Namespace, .Invoker, .Target, .Status.Phase, .Status.Duration, .Status.Error.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=8192
	Command []string `json:"command"`
}

// HookHTTPGetAction is a GET request.
type HookHTTPGetAction struct {
	// Path of the URL, with its query.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Path string `json:"path,omitempty"`

	// Port by number, or by its name in the container containerName.
	// +required
	Port intstr.IntOrString `json:"port"`

	// Host to ask. The default is the address of the executor's pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`

	// Scheme of the URL. A certificate is verified only if host is set.
	// +optional
	// +kubebuilder:default=HTTP
	// +kubebuilder:validation:Enum=HTTP;HTTPS
	Scheme corev1.URIScheme `json:"scheme,omitempty"`

	// HTTPHeaders of the request.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	HTTPHeaders []HookHTTPHeader `json:"httpHeaders,omitempty"`
}

// HookHTTPPostAction is a POST request.
// +kubebuilder:validation:XValidation:rule="!has(self.body) || !has(self.form)",message="a request has a body or a form, not both"
type HookHTTPPostAction struct {
	HookHTTPGetAction `json:",inline"`

	// Body of the request. If it contains {{, it is a Go template over the run: .Name, .Namespace, .Invoker, .Target,
	// .Status.Phase, .Status.Duration, .Status.Error.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	Body string `json:"body,omitempty"`

	// Form is sent as application/x-www-form-urlencoded.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=64
	Form []HookFormEntry `json:"form,omitempty"`
}

// HookHTTPHeader is a header of a request.
type HookHTTPHeader struct {
	// Name of the header.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// Value of the header.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}

// HookFormEntry is a field of a form.
type HookFormEntry struct {
	// Key of the field.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Key string `json:"key"`
	// Values of the field.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=4096
	Values []string `json:"values"`
}

// HookTCPSocketAction opens a connection.
type HookTCPSocketAction struct {
	// Port by number, or by its name in the container containerName.
	// +required
	Port intstr.IntOrString `json:"port"`

	// Host to connect to. The default is the address of the executor's pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`
}

// HookExecutorType is what carries out an action.
// +kubebuilder:validation:Enum=Function;Pod;Operator
type HookExecutorType string

// The values of HookExecutorType.
const (
	// HookExecutorFunction runs a Function in a Job.
	HookExecutorFunction HookExecutorType = "Function"
	// HookExecutorPod runs a command in a pod, or connects to a pod.
	HookExecutorPod HookExecutorType = "Pod"
	// HookExecutorOperator connects from Cairn's manager.
	HookExecutorOperator HookExecutorType = "Operator"
)

// HookExecutor defines what carries out an action.
// +kubebuilder:validation:XValidation:rule="!has(self.pod) || self.type == 'Pod'",message="executor.pod needs type Pod"
// +kubebuilder:validation:XValidation:rule="has(self.function) == (self.type == 'Function')",message="executor.function and type Function need each other"
type HookExecutor struct {
	// Type of the executor.
	// +required
	Type HookExecutorType `json:"type"`

	// Function that is run in a Job of the run's namespace.
	// +optional
	Function *HookFunctionExecutor `json:"function,omitempty"`

	// Pod selects pods of the run's namespace. The default is the pods of the target.
	// +optional
	Pod *HookPodExecutor `json:"pod,omitempty"`
}

// HookStrategy is in how many pods an action is carried out.
// +kubebuilder:validation:Enum=ExecuteOnOne;ExecuteOnAll
type HookStrategy string

// The values of HookStrategy.
const (
	// ExecuteOnOne takes the first pod by name that was ready when the run started. Pre and post hooks take the same
	// pod.
	ExecuteOnOne HookStrategy = "ExecuteOnOne"
	// ExecuteOnAll takes every running pod. The action must succeed in all of them.
	ExecuteOnAll HookStrategy = "ExecuteOnAll"
)

// HookPodExecutor selects pods of the run's namespace.
type HookPodExecutor struct {
	// Selector on the labels of the pods: "key=value, key=value". With neither selector nor owner, the pods are those
	// of the target.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Selector string `json:"selector,omitempty"`

	// Owner of the pods. Only the fields that are set are compared.
	// +optional
	Owner *HookPodOwner `json:"owner,omitempty"`

	// Strategy is in how many pods the action is carried out.
	// +optional
	// +kubebuilder:default=ExecuteOnOne
	Strategy HookStrategy `json:"strategy,omitempty"`
}

// HookPodOwner describes an owner reference of a pod.
type HookPodOwner struct {
	// APIVersion of the owner.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`
	// Kind of the owner.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// Name of the owner.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// UID of the owner.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
	// Controller is whether the owner manages the pod.
	// +optional
	Controller *bool `json:"controller,omitempty"`
}

// HookTemplate is an action that sessions run before or after a backup or a restore.
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=cairn
// +kubebuilder:printcolumn:name="Executor",type=string,JSONPath=`.spec.executor.type`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type HookTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec HookTemplateSpec `json:"spec"`
}

// HookTemplateList is a list of HookTemplates.
// +kubebuilder:object:root=true
type HookTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HookTemplate `json:"items"`
}
