from django.contrib.auth.models import User
from django.db import models


class Profile(models.Model):
    user = models.OneToOneField(User, models.CASCADE)
    image = models.CharField(max_length=100, default="/media/user_images/default.jpg")
    bio = models.TextField(default="")


class Post(models.Model):
    author = models.ForeignKey(User, models.CASCADE, related_name="posts")
    title = models.CharField(max_length=200)
    content = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)


class Room(models.Model):
    name = models.CharField(max_length=310, unique=True)
    members = models.ManyToManyField(User, related_name="rooms")


class Message(models.Model):
    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    user = models.ForeignKey(User, models.CASCADE)
    content = models.TextField()
    timestamp = models.DateTimeField(auto_now_add=True)
