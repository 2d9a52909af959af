package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/gitstore"
	"github.com/cairn-backup/cairn/internal/repository"
)

// server is where an object makes Cairn connect to. Text is how the report shows it, without a credential.
type server struct {
	text string
	url  *url.URL // nil if it can't be told
}

// reachable tells to which servers the objects lead, and what the rules for addresses say of each.
func (j *judge) reachable() Section {
	out := Section{Name: "Reachable servers"}
	policy, err := egress.New(egress.Rules{
		Allow: j.flags.Egress.Allow, Deny: j.flags.Egress.Deny, APIServer: j.APIServer,
	})
	if err != nil {
		out.fail(seeNetwork, "the manager can't start with these flags: %v", err)
		return out
	}
	users := map[string][]string{}
	servers := map[string]server{}
	note := func(s server, kind, namespace, name string) {
		servers[s.text] = s
		users[s.text] = append(users[s.text], named(kind, namespace, name))
	}
	for i := range j.PolicySyncs {
		p := &j.PolicySyncs[i]
		note(gitServer(p.Spec.URL), v1alpha1.PolicySyncKind, p.Namespace, p.Name)
	}
	for i := range j.Ledgers {
		l := &j.Ledgers[i]
		note(gitServer(l.Spec.URL), v1alpha1.LedgerKind, l.Namespace, l.Name)
	}
	for i := range j.Storages {
		b := &j.Storages[i]
		if s := storageServer(&b.Spec.Storage); s.text != "" {
			note(s, v1alpha1.BackupStorageKind, b.Namespace, b.Name)
		}
	}
	for i := range j.HookTemplates {
		h := &j.HookTemplates[i]
		if s := hookServer(h.Spec.Action); s.text != "" {
			note(s, v1alpha1.HookTemplateKind, h.Namespace, h.Name)
		}
	}
	proxy := j.flags.Proxy.ProxyFunc()
	for _, text := range slices.Sorted(maps.Keys(servers)) {
		s := servers[text]
		level, says := OK, "the host depends on the variables of a hook"
		if s.url != nil {
			level, says = j.verdict(policy, s.url, proxy)
		}
		see := ""
		if level != OK {
			see = seeNetwork
		}
		out.add(level, see, users[text], "%s, %s", text, says)
	}
	if len(servers) == 0 && j.read("policysyncs", "ledgers", "backupstorages", "hooktemplates") {
		out.ok("no object names a server")
	}
	return out
}

// verdict puts what the rules say into words.
func (j *judge) verdict(policy *egress.Policy, u *url.URL, proxy func(*url.URL) (*url.URL, error)) (Level, string) {
	v := policy.Verdict(u)
	if v.Refused != nil {
		return Warn, "refused: " + v.Refused.Error()
	}
	through := ""
	if p, err := proxy(u); err == nil && p != nil {
		through = ", through the proxy " + p.Host
	}
	switch {
	case v.ByFlag:
		return Warn, "allowed by --" + egress.FlagAllow + through
	case v.Name && through != "":
		return OK, "allowed" + through + ", which resolves the name by itself"
	case v.Name:
		return OK, "judged by its addresses at each connection"
	default:
		return OK, "allowed" + through
	}
}

// gitServer returns the server of a Git URL.
func gitServer(raw string) server {
	u, err := gitstore.ParseURL(raw)
	if err != nil {
		return server{text: "a URL that Cairn refuses"}
	}
	return serverOf(u)
}

// serverOf leaves out all of a URL but its server.
func serverOf(u *url.URL) server {
	out := &url.URL{Scheme: u.Scheme, Host: u.Host}
	return server{text: out.String(), url: out}
}

// googleHost is where the software kit of Google connects to.
const googleHost = "storage.googleapis.com"

const sshPort = 22

// storageServer returns the server of a storage; no text for a volume of the cluster.
func storageServer(s *v1alpha1.Storage) server {
	switch {
	case s.S3 != nil:
		host, plain, err := repository.ParseEndpoint(s.S3.Endpoint)
		if err != nil {
			return server{text: "an endpoint that Cairn refuses"}
		}
		return serverOf(&url.URL{Scheme: map[bool]string{true: "http", false: "https"}[plain], Host: host})
	case s.GCS != nil:
		return serverOf(&url.URL{Scheme: "https", Host: googleHost})
	case s.Azure != nil:
		suffix := cmp.Or(s.Azure.EndpointSuffix, v1alpha1.AzureEndpointSuffix)
		return serverOf(&url.URL{Scheme: "https", Host: s.Azure.StorageAccount + ".blob." + suffix})
	case s.SFTP != nil:
		port := strconv.Itoa(int(cmp.Or(s.SFTP.Port, sshPort)))
		return serverOf(&url.URL{Scheme: "ssh", Host: net.JoinHostPort(s.SFTP.Host, port)})
	case s.WebDAV != nil:
		u, err := url.Parse(s.WebDAV.URL)
		if err != nil || u.Host == "" {
			return server{text: "a URL that Cairn refuses"}
		}
		return serverOf(u)
	}
	return server{}
}

// hookServer returns the server of a hook; no text if it runs a command or connects to the pod of its run.
func hookServer(action *v1alpha1.HookAction) server {
	if action == nil {
		return server{}
	}
	scheme, host, port := "", "", ""
	web := func(a *v1alpha1.HookHTTPGetAction) {
		scheme, host, port = strings.ToLower(string(cmp.Or(a.Scheme, corev1.URISchemeHTTP))), a.Host, a.Port.String()
	}
	switch {
	case action.HTTPGet != nil:
		web(action.HTTPGet)
	case action.HTTPPost != nil:
		web(&action.HTTPPost.HookHTTPGetAction)
	case action.TCPSocket != nil:
		scheme, host, port = "tcp", action.TCPSocket.Host, action.TCPSocket.Port.String()
	}
	if host == "" {
		return server{}
	}
	u := &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}
	if strings.Contains(host, "${") {
		return server{text: fmt.Sprintf("%s://%s", scheme, u.Host)}
	}
	return serverOf(u)
}
