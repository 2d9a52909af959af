package sidecar

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Token is what a token for the API server says of itself. Nobody has verified it: it is for tokens that the API server gave.
type Token struct {
	// Credential is the identity of the token, as user extra authentication.kubernetes.io/credential-id has it: "JTI=<uuid>".
	Credential string
	// IssuedAt and Expires bound its validity.
	IssuedAt, Expires time.Time
}

// ReadToken reads a token. Its error holds no part of it.
func ReadToken(token string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return Token{}, errors.New("read token: it is no JSON web token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Token{}, errors.New("read token: its claims are not encoded as they must be")
	}
	var claims struct {
		JTI string `json:"jti"`
		IAT int64  `json:"iat"`
		EXP int64  `json:"exp"`
	}
	if err := json.Unmarshal(b, &claims); err != nil {
		return Token{}, errors.New("read token: its claims are no JSON object")
	}
	if claims.JTI == "" || strings.ContainsAny(claims.JTI, ",= ") {
		return Token{}, errors.New("read token: it has no identity: Kubernetes 1.30 or later gives one")
	}
	return Token{Credential: "JTI=" + claims.JTI, IssuedAt: time.Unix(claims.IAT, 0), Expires: time.Unix(claims.EXP, 0)}, nil
}

// maxCredentials is how many tokens of one sidecar may be valid at a time: the one in use, one that the kubelet has not brought
// yet, and some that are about to expire.
const maxCredentials = 8

// FormatCredentials is the value of v1alpha1.AnnotationSidecarCredentials. Of too many the first are left out: they are the
// oldest.
func FormatCredentials(credentials []string) (string, error) {
	for _, c := range credentials {
		if !strings.HasPrefix(c, "JTI=") || strings.Contains(c, ",") {
			return "", fmt.Errorf("format credentials: %q is none", c)
		}
	}
	return strings.Join(credentials[max(len(credentials)-maxCredentials, 0):], ","), nil
}

// ParseCredentials reads such a value.
func ParseCredentials(value string) []string {
	return slices.DeleteFunc(strings.Split(value, ","), func(c string) bool { return c == "" })
}
