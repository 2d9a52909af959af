package doctor

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpproxy"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Flags are those flags of the manager that decide who can do what.
type Flags struct {
	Administrators policy.Administrators
	Egress         egress.Rules
	MetricsSecure  bool
	CertDir        string
	ClusterName    string
	Image          string
	MoverImage     string
	// Proxy of the environment.
	Proxy httpproxy.Config
	// Hidden are environment variables about proxies whose value only the pod knows.
	Hidden []string
}

// FlagsOf reads the flags of the manager's Deployment.
func FlagsOf(d *appsv1.Deployment) (Flags, error) {
	f := Flags{}
	container := managerContainer(d)
	if container == nil {
		return f, fmt.Errorf("Deployment %s/%s has no container", d.Namespace, d.Name)
	}
	f.Image = container.Image
	set := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	set.ParseErrorsAllowlist.UnknownFlags = true
	set.Usage = func() {}
	var administrators []string
	set.StringSliceVar(&administrators, "admin-namespaces", nil, "")
	set.StringSliceVar(&f.Egress.Allow, egress.FlagAllow, nil, "")
	set.StringSliceVar(&f.Egress.Deny, egress.FlagDeny, nil, "")
	set.BoolVar(&f.MetricsSecure, "metrics-secure", true, "")
	set.StringVar(&f.CertDir, "metrics-cert-dir", "", "")
	set.StringVar(&f.ClusterName, "cluster-name", "", "")
	set.StringVar(&f.MoverImage, "mover-image", "", "")
	if err := set.Parse(expanded(container)); err != nil {
		return f, fmt.Errorf("read the arguments of the manager: %w", err)
	}
	if f.Administrators = administrators; len(administrators) == 0 {
		f.Administrators = policy.Administrators{d.Namespace}
	}
	f.proxies(container)
	return f, nil
}

// managerContainer returns the container of the manager: others can stand beside it.
func managerContainer(d *appsv1.Deployment) *corev1.Container {
	containers := d.Spec.Template.Spec.Containers
	for i := range containers {
		if containers[i].Name == "manager" {
			return &containers[i]
		}
	}
	if len(containers) == 0 {
		return nil
	}
	return &containers[0]
}

// expanded returns the arguments with $(NAME) filled in, as the kubelet does, where the Deployment has the value.
func expanded(c *corev1.Container) []string {
	var pairs []string
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			pairs = append(pairs, "$("+e.Name+")", e.Value)
		}
	}
	replacer := strings.NewReplacer(pairs...)
	out := make([]string, len(c.Args))
	for i, a := range c.Args {
		out[i] = replacer.Replace(a)
	}
	return out
}

// proxies reads the environment as net/http does: of two spellings that in capitals counts.
func (f *Flags) proxies(c *corev1.Container) {
	for _, to := range []struct {
		value *string
		names [2]string
	}{
		{&f.Proxy.HTTPProxy, [2]string{"http_proxy", "HTTP_PROXY"}},
		{&f.Proxy.HTTPSProxy, [2]string{"https_proxy", "HTTPS_PROXY"}},
		{&f.Proxy.NoProxy, [2]string{"no_proxy", "NO_PROXY"}},
	} {
		for _, name := range to.names {
			for _, e := range c.Env {
				switch {
				case e.Name != name:
				case e.ValueFrom != nil:
					f.Hidden = append(f.Hidden, e.Name)
				case e.Value != "":
					*to.value = e.Value
				}
			}
		}
	}
	for _, from := range c.EnvFrom {
		switch {
		case from.SecretRef != nil:
			f.Hidden = append(f.Hidden, "all of Secret "+from.SecretRef.Name)
		case from.ConfigMapRef != nil:
			f.Hidden = append(f.Hidden, "all of ConfigMap "+from.ConfigMapRef.Name)
		}
	}
}
