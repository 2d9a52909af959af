package remote

import (
	"errors"
	"net"
	"slices"

	"github.com/fluxcd/pkg/ssh/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/cairn-backup/cairn/internal/repository"
)

// hostKeys reads known_hosts. It returns only the algorithms of this host's keys: with another algorithm, the server
// would present a key that is not listed.
func hostKeys(known []byte, addr string) (ssh.HostKeyCallback, []string, error) {
	untrusted := func(text string) error {
		return &repository.Error{Op: "open storage", Kind: repository.ErrUntrusted, Err: errors.New(text)}
	}
	check, _, err := knownhosts.New(known)
	if err != nil {
		return nil, nil, untrusted("known_hosts can't be read")
	}
	var miss *xknownhosts.KeyError
	if err := check(addr, &net.TCPAddr{}, noKey{}); !errors.As(err, &miss) || len(miss.Want) == 0 {
		return nil, nil, untrusted("known_hosts has no key of " + addr + ": add the key that the server presents")
	}
	var algorithms []string
	for _, k := range miss.Want {
		if k.Key.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, k.Key.Type())
		}
	}
	slices.Sort(algorithms)
	return check, slices.Compact(algorithms), nil
}

// noKey is a key that no host has. The error of a check with it lists the keys that the host has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
