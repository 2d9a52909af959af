package database

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// Surroundings are the objects around a Binding in its namespace.
type Surroundings struct {
	// Namespace of the objects.
	Namespace string
	// Service that the Binding names; nil if it does not exist.
	Service *corev1.Service
	// Slices of the Service.
	Slices []discoveryv1.EndpointSlice
	// Pods of the namespace.
	Pods []corev1.Pod
}

// Location is where a database is and which image has its programs.
type Location struct {
	// Host and Port as arguments of a program.
	Host, Port string
	// Image, by its digest if that is known; empty if the database runs elsewhere.
	Image string
	// Version according to the Binding, else to the image's tag; can be empty.
	Version string
	// PullSecrets of the pod that runs the image.
	PullSecrets []corev1.LocalObjectReference
	// Pod that answers, and its Container; nil if it is unknown or if another pod can answer.
	Pod       *corev1.Pod
	Container *corev1.Container
}

// Server identifies, within a namespace, the server that answers: "Pod/<name>", or "<host>:<port>" where the pod is
// unknown.
func (l Location) Server() string {
	if l.Pod != nil {
		return "Pod/" + l.Pod.Name
	}
	return net.JoinHostPort(strings.ToLower(l.Host), l.Port)
}

// Locate finds a database that accepts connections now. The result depends only on the arguments, and not on the order
// of their lists. An error with the reason TargetNotReady can go away by itself.
func Locate(b Binding, in Surroundings) (Location, *v1alpha1.ResolvedError) {
	if b.Service == "" {
		return b.elsewhere(b.Host)
	}
	service := in.Service
	if service == nil {
		return Location{}, &v1alpha1.ResolvedError{
			Reason:  v1alpha1.ReasonTargetNotFound,
			Message: "there is no Service " + b.Service,
		}
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		if b.Port == "" && len(service.Spec.Ports) == 1 {
			b.Port = strconv.Itoa(int(service.Spec.Ports[0].Port))
		}
		return b.elsewhere(service.Spec.ExternalName)
	}
	port, refusal := choosePort(b, service)
	if refusal != nil {
		return Location{}, refusal
	}
	endpoint, number := readyEndpoint(in.Slices, port)
	if endpoint == nil {
		return Location{},
			notReady("Service %s has no endpoint that is ready: the database does not run, or is not ready yet",
				service.Name)
	}
	out := Location{
		Host: service.Name + "." + in.Namespace + ".svc", Port: strconv.Itoa(int(port.Port)),
		Version: b.Version,
	}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		out.Port = strconv.Itoa(int(number)) // Nothing translates the ports of a headless Service.
	}
	pod := podOf(endpoint, in.Pods)
	if pod != nil && alone(in.Slices) {
		out.Pod, out.Container = pod, serving(pod, port.TargetPort, number)
	}
	if b.Image != "" {
		out.Image, out.Version = b.Image, cmp.Or(b.Version, versionOf(b.Image))
		return out, nil
	}
	if pod == nil {
		return Location{},
			unknown("no pod of namespace %s is behind Service %s, so the image with the database's programs is "+
				"unknown: name one in the parameter %s",
				in.Namespace, service.Name, catalog.ParamImage)
	}
	container := serving(pod, port.TargetPort, number)
	if container == nil {
		return Location{},
			unknown("no container of Pod %s declares port %s of Service %s: name an image with the database's "+
				"programs in the parameter %s",
				pod.Name, port.TargetPort.String(), service.Name, catalog.ParamImage)
	}
	out.Image, out.PullSecrets = imageOf(pod, container), slices.Clone(pod.Spec.ImagePullSecrets)
	out.Version = cmp.Or(b.Version, versionOf(container.Image))
	return out, nil
}

// elsewhere locates a database that no Service of the namespace selects. Only a connection shows whether it exists.
func (b Binding) elsewhere(host string) (Location, *v1alpha1.ResolvedError) {
	number, err := strconv.ParseUint(b.Port, 10, 16)
	switch {
	case !isHost(host):
		return Location{}, unknown("%q is not a valid host name", host)
	case err != nil || number == 0:
		return Location{}, unknown("the port of the database on %s is unknown: name it in the parameter %s", host,
			catalog.ParamPort)
	case b.Image == "":
		return Location{},
			unknown("the database on %s runs outside of the namespace: name an image with its programs in the "+
				"parameter %s", host, catalog.ParamImage)
	}
	return Location{Host: host, Port: b.Port, Image: b.Image, Version: cmp.Or(b.Version, versionOf(b.Image))}, nil
}

// choosePort returns the port of the Service that the Binding means.
func choosePort(b Binding, s *corev1.Service) (*corev1.ServicePort, *v1alpha1.ResolvedError) {
	var names []string
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if b.Port == strconv.Itoa(int(p.Port)) || b.Port != "" && b.Port == p.Name || b.Port == "" &&
			len(s.Spec.Ports) == 1 {
			return p, nil
		}
		names = append(names, cmp.Or(p.Name, strconv.Itoa(int(p.Port))))
	}
	return nil, unknown("Service %s has the ports %s: name one of them in the parameter %s", s.Name,
		strings.Join(names, ", "), catalog.ParamPort)
}

// readyEndpoint returns the first ready endpoint, by the name of its pod and its address, and the number of its port.
func readyEndpoint(all []discoveryv1.EndpointSlice, port *corev1.ServicePort) (*discoveryv1.Endpoint, int32) {
	var best *discoveryv1.Endpoint
	var number int32
	for i := range all {
		at := slices.IndexFunc(all[i].Ports, func(p discoveryv1.EndpointPort) bool {
			return p.Port != nil && (p.Name == nil && port.Name == "" || p.Name != nil && *p.Name == port.Name)
		})
		if at < 0 {
			continue
		}
		for j := range all[i].Endpoints {
			e := &all[i].Endpoints[j]
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ready && len(e.Addresses) > 0 && (best == nil || endpointName(e) < endpointName(best)) {
				best, number = e, *all[i].Ports[at].Port
			}
		}
	}
	return best, number
}

// alone reports whether only one pod is behind a Service, ready or not.
func alone(all []discoveryv1.EndpointSlice) bool {
	names := map[string]bool{}
	for i := range all {
		for j := range all[i].Endpoints {
			e := &all[i].Endpoints[j]
			if len(e.Addresses) > 0 {
				names[endpointName(e)] = true
			}
		}
	}
	return len(names) == 1
}

func endpointName(e *discoveryv1.Endpoint) string {
	if e.TargetRef != nil {
		return e.TargetRef.Name
	}
	return "~" + e.Addresses[0] // Sorts after all names.
}

func podOf(e *discoveryv1.Endpoint, pods []corev1.Pod) *corev1.Pod {
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" {
		return nil
	}
	for i := range pods {
		if pods[i].Name == e.TargetRef.Name && (e.TargetRef.UID == "" || pods[i].UID == e.TargetRef.UID) {
			return &pods[i]
		}
	}
	return nil
}

// serving returns the container of a pod that listens on the port. The only container of a pod need not declare the
// port.
func serving(pod *corev1.Pod, target intstr.IntOrString, number int32) *corev1.Container {
	all := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, c)
		}
	}
	for i := range all {
		for _, p := range all[i].Ports {
			if target.Type == intstr.String && p.Name == target.StrVal || target.Type == intstr.Int &&
				p.ContainerPort == number {
				return &all[i]
			}
		}
	}
	if len(all) == 1 {
		return &all[0]
	}
	return nil
}

// imageOf returns the image that a container runs, by its digest if the node names one that can be pulled.
func imageOf(pod *corev1.Pod, c *corev1.Container) string {
	if strings.Contains(c.Image, "@") {
		return c.Image
	}
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if s.Name != c.Name {
			continue
		}
		_, id, found := strings.Cut(s.ImageID, "://")
		if !found {
			id = s.ImageID
		}
		repo, digest, found := strings.Cut(id, "@sha256:")
		if found && len(digest) == 64 && qualified(repo) == qualified(repoOf(c.Image)) {
			return id
		}
	}
	return c.Image
}

// repoOf returns an image's name without its tag.
func repoOf(image string) string {
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i]
	}
	return image
}

// qualified writes the name of a repository in full, as container runtimes do.
func qualified(repo string) string {
	first, rest, found := strings.Cut(repo, "/")
	switch {
	case !found:
		return "docker.io/library/" + repo
	case first == "docker.io" && !strings.Contains(rest, "/"):
		return "docker.io/library/" + rest
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + repo
	}
	return repo
}

// versionOf returns the version at the start of an image's tag, or "".
func versionOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	tag := strings.TrimPrefix(image[len(repoOf(image)):], ":")
	tag = strings.TrimPrefix(tag, "v")
	end := strings.IndexFunc(tag, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		tag = tag[:end]
	}
	return strings.Trim(tag, ".")
}
