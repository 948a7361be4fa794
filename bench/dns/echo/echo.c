/* Sends datagrams back with the QR flag set: the cost of moving them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 32, SIZE = 1500 };

static char packets[BATCH][SIZE];
static struct sockaddr_in from[BATCH];
static struct iovec vecs[BATCH];
static struct mmsghdr msgs[BATCH];

int main(int argc, char **argv) {
	if (argc != 2) {
		fprintf(stderr, "usage: echo PORT\n");
		return 2;
	}
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0) {
		perror("bind");
		return 1;
	}
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			vecs[i] = (struct iovec){packets[i], SIZE};
			msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &vecs[i], .msg_iovlen = 1};
		}
		int n = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0) {
			perror("recvmmsg");
			return 1;
		}
		for (int i = 0; i < n; i++) {
			vecs[i].iov_len = msgs[i].msg_len;
			packets[i][2] |= 0x80;
		}
		for (int at = 0; at < n;) {
			int sent = sendmmsg(fd, msgs + at, n - at, 0);
			if (sent < 0) {
				perror("sendmmsg");
				return 1;
			}
			at += sent;
		}
	}
}
