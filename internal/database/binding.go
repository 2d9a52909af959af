package database

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// Binding describes how to reach a database, according to a policy and the objects that it names. It holds no
// credential.
type Binding struct {
	// Service of the namespace; empty for a database elsewhere.
	Service string
	// Host of a database elsewhere.
	Host string
	// Port is a number, or the name of a port of Service; empty means the only port.
	Port string
	// Secret of the namespace with the credentials.
	Secret string
	// UsernameKey and PasswordKey are the Secret's keys; empty means username and password.
	UsernameKey, PasswordKey string
	// TLSSecret of the namespace with ca.crt, tls.crt and tls.key; empty means Secret.
	TLSSecret string
	// Image with the database's programs; empty means the image of the pods behind Service.
	Image string
	// Version of the database; empty if unknown.
	Version string
	// Database that is dumped where policy names none.
	Database string
}

// OfService returns the Binding of a Service, which tells only where the database is.
func OfService(name string) Binding { return Binding{Service: name} }

// OfAppBinding reads an AppBinding of appcatalog.appscode.com. It ignores a setting of the AppBinding that params
// override.
func OfAppBinding(u *unstructured.Unstructured, params map[string]string) (Binding, *v1alpha1.ResolvedError) {
	b := Binding{
		Secret: text(u, "spec", "secret", "name"), TLSSecret: text(u, "spec", "tlsSecret", "name"),
		Version: text(u, "spec", "version"),
	}
	if transforms, found, _ := unstructured.NestedSlice(u.Object, "spec", "secretTransforms"); found &&
		len(transforms) > 0 && params[catalog.ParamSecretName] == "" {
		if refusal := b.renamed(u.GetName(), transforms); refusal != nil {
			return b, refusal
		}
	}
	if ca := text(u, "spec", "clientConfig", "caBundle"); ca != "" && b.TLSSecret == "" &&
		params[catalog.ParamTLSSecretName] == "" {
		return b, unknown("AppBinding %s has a caBundle and no tlsSecret: name a Secret with the certificate in the "+
			"key ca.crt in the parameter %s", u.GetName(), catalog.ParamTLSSecretName)
	}
	if service := text(u, "spec", "clientConfig", "service", "name"); service != "" {
		if ns := text(u, "spec", "clientConfig", "service", "namespace"); ns != "" && ns != u.GetNamespace() {
			return b, unknown("AppBinding %s names a Service of namespace %s: back the database up from that namespace",
				u.GetName(), ns)
		}
		b.Service = service
		if port, found, _ := unstructured.NestedInt64(u.Object, "spec", "clientConfig", "service", "port"); found {
			b.Port = strconv.FormatInt(port, 10)
		}
		return b, nil
	}
	address := text(u, "spec", "clientConfig", "url")
	parsed, err := url.Parse(address)
	if address == "" || err != nil || parsed.Hostname() == "" {
		// The message leaves out an address that does not parse: it can hold a password.
		return b, unknown("AppBinding %s has no address of the database: set clientConfig.service or clientConfig.url",
			u.GetName())
	}
	b.at(parsed.Hostname(), parsed.Port(), u.GetNamespace())
	return b, nil
}

// renamed reads secretTransforms, which can give other keys for the username and the password.
func (b *Binding) renamed(name string, transforms []any) *v1alpha1.ResolvedError {
	for _, t := range transforms {
		one, _ := t.(map[string]any)
		rename, _ := one["renameKey"].(map[string]any)
		from, _ := rename["from"].(string)
		switch to, _ := rename["to"].(string); {
		case len(one) == 1 && to == "username" && from != "":
			b.UsernameKey = from
		case len(one) == 1 && to == "password" && from != "":
			b.PasswordKey = from
		default:
			return unknown("AppBinding %s transforms its Secret in another way than by renaming keys to username and "+
				"password: create a Secret with these keys, and name it in the parameter %s",
				name, catalog.ParamSecretName)
		}
	}
	return nil
}

// OfSecret reads a Secret of the Service Binding specification. It takes no credential from it.
func OfSecret(s *corev1.Secret) (Binding, *v1alpha1.ResolvedError) {
	if !strings.HasPrefix(string(s.Type), serviceBinding) {
		return Binding{},
			unknown("Secret %s is of type %q, not %s<type>: name the Service of the database as the target, and the "+
				"Secret in the parameter %s",
				s.Name, s.Type, serviceBinding, catalog.ParamSecretName)
	}
	host := string(s.Data["host"])
	if !isHost(host) {
		return Binding{}, unknown("Secret %s has no host in the key host", s.Name)
	}
	b := Binding{Secret: s.Name, Database: string(s.Data["database"])}
	b.at(host, string(s.Data["port"]), s.Namespace)
	return b, nil
}

// serviceBinding is the prefix of Secret types of the Service Binding specification.
const serviceBinding = "servicebinding.io/"

// OfCluster reads a Cluster of CloudNativePG. If the Cluster allows the superuser access, the superuser dumps
// everything; otherwise the application's user dumps its database.
func OfCluster(u *unstructured.Unstructured) (Binding, *v1alpha1.ResolvedError) {
	name := u.GetName()
	b := Binding{
		Service:   cmp.Or(text(u, "status", "writeService"), name+"-rw"),
		TLSSecret: cmp.Or(text(u, "status", "certificates", "serverCASecret"), name+"-ca"),
	}
	if superuser, _, _ := unstructured.NestedBool(u.Object, "spec", "enableSuperuserAccess"); superuser {
		b.Secret = cmp.Or(text(u, "spec", "superuserSecret", "name"), name+"-superuser")
		return b, nil
	}
	for _, method := range []string{"initdb", "recovery", "pg_basebackup"} { // one of them at most
		b.Secret = cmp.Or(b.Secret, text(u, "spec", "bootstrap", method, "secret", "name"))
		b.Database = cmp.Or(b.Database, text(u, "spec", "bootstrap", method, "database"))
	}
	b.Secret, b.Database = cmp.Or(b.Secret, name+"-app"), cmp.Or(b.Database, "app")
	return b, nil
}

// With overrides the Binding by the parameters of a task.
func (b Binding) With(params map[string]string) Binding {
	for name, at := range map[string]*string{
		catalog.ParamSecretName: &b.Secret, catalog.ParamUsernameKey: &b.UsernameKey,
		catalog.ParamPasswordKey:   &b.PasswordKey,
		catalog.ParamTLSSecretName: &b.TLSSecret, catalog.ParamPort: &b.Port, catalog.ParamImage: &b.Image,
	} {
		*at = cmp.Or(params[name], *at)
	}
	return b
}

// at notes where the database is. A host that is the name of a Service of the namespace means that Service.
func (b *Binding) at(host, port, namespace string) {
	b.Port = port
	name, rest, _ := strings.Cut(host, ".")
	inside := rest == "" && net.ParseIP(host) == nil || rest == namespace || rest == namespace+".svc" ||
		strings.HasPrefix(rest, namespace+".svc.")
	if inside && name != "" {
		b.Service = name
		return
	}
	b.Host = host
}

// isHost reports whether a text is an address or a host name, and so is safe as an argument of a program.
func isHost(s string) bool {
	if net.ParseIP(s) != nil {
		return true
	}
	return s != "" && len(s) <= 253 && s[0] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""
}

func text(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}

func unknown(format string, args ...any) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonTargetUnknown, Message: fmt.Sprintf(format, args...)}
}

func notReady(format string, args ...any) *v1alpha1.ResolvedError {
	return &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonTargetNotReady, Message: fmt.Sprintf(format, args...)}
}
