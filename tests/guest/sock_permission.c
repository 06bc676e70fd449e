// needs: root
// sockets: connecting by path needs permission to write; directories need to be searched; binding needs to write them.
#include "sock.h"

int main(void)
{
	OK(chmod(".", 0755));
	umask(0);
	int s = t_listen(SOCK_STREAM, "s", 9);
	int d = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(t_bind(d, "d"));
	OK(mkdir("dir", 0700));
	int in = t_listen(SOCK_STREAM, "dir/s", 9);
	t_write("ro", "");
	OK(chmod("s", 0755));
	OK(chmod("d", 0755));
	IN_CHILD({
		OK(setgid(1000));
		OK(setuid(1000));
		int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		ERR(t_connect(t, "s"), EACCES);
		ERR(t_connect(t, "dir/s"), EACCES);
		ERR(t_connect(t, "ro"), EACCES);
		ERR(t_bind(t, "mine"), EACCES);
		ERR(t_bind(t, "s"), EADDRINUSE);
		int u = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
		ERR(t_connect(u, "d"), EACCES);
		socklen_t l;
		struct sockaddr *a = t_addr("d", &l);
		ERR(sendto(u, "x", 1, 0, a, l), EACCES);
	});
	OK(chmod("s", 0722));
	OK(chmod("d", 0002));
	IN_CHILD({
		OK(setgid(1000));
		OK(setuid(1000));
		int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		OK(t_connect(t, "s"));
		struct ucred c;
		socklen_t l = sizeof c;
		OK(getsockopt(t, SOL_SOCKET, SO_PEERCRED, &c, &l));
		CHECK(c.uid == 0 && c.gid == 0 && c.pid == getppid());
		int u = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
		OK(t_connect(u, "d"));
		EQ(send(u, "x", 1, 0), 1);
	});
	int c = OK(accept(s, NULL, NULL));
	struct ucred uc;
	socklen_t l = sizeof uc;
	OK(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &uc, &l));
	CHECK(uc.uid == 1000 && uc.gid == 1000 && uc.pid > 0);
	close(in);
	say("ok");
	return 0;
}
