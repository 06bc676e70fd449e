/* What programs about sockets share. */
#ifndef SOCK_H
#define SOCK_H
#include "t.h"
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/sockios.h>

/* An address: a path, or with a leading '@' an abstract name. Its length goes to *len. */
__attribute__((unused)) static struct sockaddr *t_addr(const char *name, socklen_t *len)
{
	static struct sockaddr_un a[4];
	static int next;
	struct sockaddr_un *u = &a[next++ % 4];
	memset(u, 0, sizeof *u);
	u->sun_family = AF_UNIX;
	strcpy(u->sun_path, name);
	*len = offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1;
	if (name[0] == '@') {
		u->sun_path[0] = 0;
		*len -= 1;
	}
	return (struct sockaddr *)u;
}

__attribute__((unused)) static int t_bind(int fd, const char *name)
{
	socklen_t len;
	struct sockaddr *a = t_addr(name, &len);
	return bind(fd, a, len);
}

__attribute__((unused)) static int t_connect(int fd, const char *name)
{
	socklen_t len;
	struct sockaddr *a = t_addr(name, &len);
	return connect(fd, a, len);
}

/* A socket that listens. */
__attribute__((unused)) static int t_listen(int type, const char *name, int backlog)
{
	int fd = OK(socket(AF_UNIX, type, 0));
	OK(t_bind(fd, name));
	OK(listen(fd, backlog));
	return fd;
}

/* Sends bytes with descriptors. */
__attribute__((unused)) static ssize_t t_send_fds(int s, const void *data, size_t len, const int *fds, int n, int flags)
{
	char control[CMSG_SPACE(253 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n > 0) {
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	return sendmsg(s, &m, flags);
}

/* Receives bytes and up to *n descriptors; *n becomes how many came, *out_flags msg_flags. */
__attribute__((unused)) static ssize_t t_recv_fds(int s, void *data, size_t len, int *fds, int *n, int flags, int *out_flags)
{
	char control[CMSG_SPACE(253 * sizeof(int)) + 64];
	struct iovec iov = { data, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	m.msg_controllen = *n > 0 ? CMSG_SPACE(*n * sizeof(int)) : 0;
	ssize_t r = recvmsg(s, &m, flags);
	*n = 0;
	if (r < 0)
		return r;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			*n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), *n * sizeof(int));
		}
	if (out_flags)
		*out_flags = m.msg_flags;
	return r;
}

__attribute__((unused)) static int t_poll(int fd, int events)
{
	struct pollfd p = { fd, events, 0 };
	OK(poll(&p, 1, 0));
	return p.revents;
}

__attribute__((unused)) static int t_getint(int fd, int opt)
{
	int v = -12345;
	socklen_t l = sizeof v;
	OK(getsockopt(fd, SOL_SOCKET, opt, &v, &l));
	EQ(l, sizeof v);
	return v;
}

__attribute__((unused)) static void t_setint(int fd, int opt, int v)
{
	OK(setsockopt(fd, SOL_SOCKET, opt, &v, sizeof v));
}

/* A pipe, and later whether its writing end is gone. */
__attribute__((unused)) static int t_closed(int r)
{
	struct pollfd p = { r, POLLIN, 0 };
	OK(poll(&p, 1, 0));
	return (p.revents & POLLHUP) != 0;
}
#endif
