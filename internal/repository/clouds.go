package repository

import (
	"cmp"
	"encoding/json"
	"errors"

	"github.com/cairn-backup/cairn/internal/egress"
)

// GCS is a bucket of Google Cloud Storage.
type GCS struct {
	Bucket, Prefix string
	Credentials    []byte // JSON key of a service account
	Ambient        bool   // use the identity that the cloud gives this process instead of a key
	Egress         *egress.Policy
}

func (g *GCS) prefix() string { return g.Prefix }

func (g *GCS) at(prefix string) Storage {
	c := *g
	c.Prefix = prefix
	return Storage{GCS: &c}
}

func (g *GCS) validate() error {
	switch {
	case g.Bucket == "":
		return errors.New("gcs storage needs a bucket")
	case g.Ambient == (len(g.Credentials) > 0):
		return errors.New("gcs storage needs either a key or the cloud's identity")
	case !g.Ambient:
		return checkServiceAccount(g.Credentials)
	}
	return nil
}

// checkServiceAccount refuses keys of another type than service_account: they can name files, programs and addresses
// that Google's client reads, runs and asks.
func checkServiceAccount(key []byte) error {
	var parsed struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(key, &parsed) != nil || parsed.Type != "service_account" {
		return &Error{
			Op: "open storage", Kind: ErrBadCredentials,
			Err: errors.New("the key is no JSON key of a service account, whose type is service_account"),
		}
	}
	return nil
}

// Azure is a container of Azure Blob Storage.
type Azure struct {
	Account, Container, Prefix string
	EndpointSuffix             string // of the account's cloud; empty means core.windows.net
	Key                        string
	// TenantID, ClientID and TokenFile are used instead of a key. They name the application that this process runs
	// as, and the file with the token that proves it.
	TenantID, ClientID, TokenFile string
	Egress                        *egress.Policy
}

// Domain returns the part of the server's name that follows the account.
func (a *Azure) Domain() string { return "blob." + cmp.Or(a.EndpointSuffix, "core.windows.net") }

func (a *Azure) prefix() string { return a.Prefix }

func (a *Azure) at(prefix string) Storage {
	c := *a
	c.Prefix = prefix
	return Storage{Azure: &c}
}

func (a *Azure) validate() error {
	federated := a.TenantID != "" && a.ClientID != "" && a.TokenFile != ""
	switch {
	case a.Account == "" || a.Container == "":
		return errors.New("azure storage needs an account and a container")
	case federated == (a.Key != ""):
		return errors.New("azure storage needs either a key or the cloud's identity")
	}
	return nil
}
