// Package certs makes certificates for tests: an authority that exists for one run only, and what
// it signs. Nothing of it is ever trusted outside the test that made it.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority signs certificates.
type Authority struct {
	// File holds the authority's certificate in PEM, for ca_file.
	File string
	// Pool holds the same, for a client's tls.Config.
	Pool *x509.CertPool

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

// Leaf is a signed certificate with its key.
type Leaf struct {
	CertFile, KeyFile string // PEM; the key's file has mode 0600
	TLS               tls.Certificate
	X509              *x509.Certificate
}

// Request says what a certificate is for. The zero value asks for a server on loopback, valid now.
type Request struct {
	// CommonName is the subject, "localhost" if empty.
	CommonName string
	// Hosts are DNS names and IP addresses; nil means localhost, 127.0.0.1 and ::1.
	Hosts []string
	// Client asks for a client's certificate instead of a server's.
	Client bool
	// NotBefore and NotAfter bound its validity; zero means an hour ago and in a day.
	NotBefore, NotAfter time.Time
}

// New makes an authority that keeps its files in dir.
func New(dir string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the test authority's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "test authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the test authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the test authority back: %w", err)
	}
	a := &Authority{File: filepath.Join(dir, "ca.pem"), Pool: x509.NewCertPool(), cert: cert, key: key, dir: dir}
	a.Pool.AddCert(cert)
	return a, writePEM(a.File, "CERTIFICATE", der, 0o644)
}

// Issue signs a certificate and keeps it in files called name.pem and name.key.
func (a *Authority) Issue(name string, r Request) (*Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key for %s: %w", name, err)
	}
	template := r.template()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing the key for %s: %w", name, err)
	}
	leaf := &Leaf{CertFile: filepath.Join(a.dir, name+".pem"), KeyFile: filepath.Join(a.dir, name+".key")}
	if err := writePEM(leaf.CertFile, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	if err := writePEM(leaf.KeyFile, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return nil, err
	}
	if leaf.X509, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("reading the certificate for %s back: %w", name, err)
	}
	leaf.TLS = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf.X509}
	return leaf, nil
}

func (r Request) template() *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: r.CommonName},
		NotBefore:    r.NotBefore,
		NotAfter:     r.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if t.Subject.CommonName == "" {
		t.Subject.CommonName = "localhost"
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if r.Client {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		return t
	}
	hosts := r.Hosts
	if hosts == nil {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (it ends the program instead)
	return new(big.Int).SetBytes(b[:])
}

func writePEM(file, kind string, der []byte, mode os.FileMode) error {
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return fmt.Errorf("writing a test certificate: %w", err)
	}
	return nil
}
